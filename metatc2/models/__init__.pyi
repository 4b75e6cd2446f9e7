from .conv4 import Conv4 as Conv4
from .features import extract as extract
from .heads import Classifier as Classifier
from .heads import Predictor as Predictor
from .heads import Projector as Projector
from .registry import build_encoder as build_encoder
from .registry import register_encoder as register_encoder
from .resnet import resnet as resnet
