from .config import Config as Config
from .config import override as override
from .config import read_task as read_task
from .load import load_pretrained as load_pretrained
from .run import Run as Run
from .run import load_run as load_run
from .run import pretrain as pretrain
from .run import resume as resume
