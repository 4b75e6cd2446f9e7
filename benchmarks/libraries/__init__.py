"""Second-order MAML in each library, behind one pair of functions, for the benchmarks that compare them."""

from libraries import higher_loop, learn2learn_maml, ours, torchopt_meta
from libraries.case import Library, NotOffered, Recipe, Task, gradient_of

LIBRARIES: dict[str, Library] = {
    "ours": ours.LIBRARY,
    "learn2learn": learn2learn_maml.LIBRARY,
    "torchopt": torchopt_meta.LIBRARY,
    "higher": higher_loop.LIBRARY,
}

__all__ = ["LIBRARIES", "Library", "NotOffered", "Recipe", "Task", "gradient_of"]
