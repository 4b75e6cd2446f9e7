"""Forms that others load an encoder in, each a file that is loaded again and compared with the encoder before it is kept."""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from metatc2.errors import InputError, MissingPackage
from metatc2.experiment.pretrained import Pretrained
from metatc2.experiment.zoo import classifier_path
from metatc2.io.weights_file import own_tensors
from metatc2.models.encoding import precision_of, rows_from
from metatc2.models.foreign_encoder import ForeignEncoder
from metatc2.models.resnet import RESNETS, SMALL_IMAGE, ResNet
from metatc2.models.timm import TimmEncoder

# Of the largest feature: what sums in another order differ by, through fifty layers.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
_COARSE = 5e-2
_CHECKED = 3
_SIZE = "any number of images of {0} × {0} pixels"
#: Networks whose parts have the same names in torchvision and in timm.
_IN_BOTH = (
    *RESNETS,
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)
_LISTED = ", ".join(_IN_BOTH)


@dataclass(frozen=True)
class Exported:
    """A file of an export.

    Args:
        name: of the file.
        content: its bytes.
        how: Python that loads it, for the model card.
        difference: largest of its features from the encoder's on random images, as a share of the largest feature.
    """

    name: str
    content: bytes
    how: str
    difference: float


def torch_export(encoder: Pretrained) -> Exported:
    """`torch.export`: the network itself, for any number of images of the encoder's size; loading it takes torch alone.

    Raises:
        InputError: if torch cannot export it, or what is loaded again computes something else.
    """
    images = _images(encoder)
    dynamic = ({0: torch.export.Dim("images", min=1)},)
    buffer = io.BytesIO()
    try:
        with _quiet():
            program = torch.export.export(encoder.encoder, (images[:2],), dynamic_shapes=dynamic, strict=False)
            torch.export.save(program, buffer)
            buffer.seek(0)
            loaded = torch.export.load(buffer).module()
    except Exception as error:  # torch raises a dozen kinds on what it cannot trace
        raise InputError(
            f"{encoder.name} cannot be exported by torch.export ({_first_line(error)}); leave the format torch-export out"
        ) from error
    difference = _checked(encoder, images, loaded(images), "torch-export")
    how = (
        'encoder = torch.export.load("encoder.pt2").module()  # with torch alone\n'
        f"features = encoder(images)  # {_SIZE.format(encoder.image_size)}"
    )
    return Exported("encoder.pt2", buffer.getvalue(), how, difference)


def onnx(encoder: Pretrained) -> Exported:
    """ONNX, for any number of images of the encoder's size; run by onnxruntime for the comparison.

    Raises:
        MissingPackage: if onnx, onnxscript or onnxruntime is not installed.
        InputError: if torch cannot export it, or what is loaded again computes something else.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingPackage(f"the format onnx needs {error.name}; pip install 'metatc2[onnx]'") from error
    images = _images(encoder)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "encoder.onnx"
        try:
            with _quiet():
                torch.onnx.export(
                    encoder.encoder,
                    (images[:2],),
                    file,
                    input_names=["images"],
                    output_names=["features"],
                    dynamic_shapes=({0: torch.export.Dim("images", min=1)},),
                    dynamo=True,
                    external_data=False,
                )
                content = file.read_bytes()
                session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
                features = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
        except Exception as error:  # torch, onnx and onnxruntime raise a dozen kinds on what they cannot do
            raise InputError(
                f"{encoder.name} cannot be exported to ONNX ({_first_line(error)}); leave the format onnx out"
            ) from error
    difference = _checked(encoder, images, features, "onnx")
    how = (
        'session = onnxruntime.InferenceSession("encoder.onnx")\n'
        'features = session.run(None, {"images": images.numpy()})[0]'
        f"  # {_SIZE.format(encoder.image_size)}"
    )
    return Exported("encoder.onnx", content, how, difference)


def torchvision_names(encoder: Pretrained) -> Exported:
    """A state dict with torchvision's names, which its network without classifier loads strictly.

    Raises:
        InputError: if the encoder is no network of torchvision, or what is loaded again computes something else.
    """
    from torchvision import models

    body, mean, std = _body(encoder)
    kind, _, name = encoder.network.partition(":")
    name = name if kind in ("torchvision", "timm") else encoder.network
    if kind == "timm":
        name = name.partition(".")[0]  # what follows says how timm's weights were trained
    known = isinstance(body, ResNet) or kind == "torchvision" or (kind == "timm" and name in _IN_BOTH)
    _require(known, encoder, "torchvision", f"torchvision:MODEL, ResNets of ours, and timm:MODEL of {_LISTED}", "timm")
    state = own_tensors(body.state_dict())
    with _quiet():
        network = models.get_model(name, weights=None)
    head = classifier_path(network, f"torchvision:{name}")
    parent, _, child = head.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
    images = _images(encoder)
    difference = _loaded_strictly(encoder, network, state, images, (mean, std), "torchvision")
    buffer = io.BytesIO()
    torch.save(state, buffer)
    how = (
        f"network = torchvision.models.{name}()\n"
        f"network.{_written(head)} = torch.nn.Identity()  # features, no classes\n"
        'network.load_state_dict(torch.load("torchvision.pth", weights_only=True), strict=True)\n'
        f"features = network.eval()({_normalized(mean, std)})"
    )
    return Exported("torchvision.pth", buffer.getvalue(), how, difference)


def timm_names(encoder: Pretrained) -> Exported:
    """A state dict with timm's names, which ``timm.create_model(..., checkpoint_path=...)`` loads.

    Raises:
        MissingPackage: if timm is not installed.
        InputError: if the encoder is no network of timm, or what is loaded again computes something else.
    """
    try:
        import timm
    except ImportError as error:
        raise MissingPackage("the format timm needs timm; pip install 'metatc2[timm]'") from error
    body, mean, std = _body(encoder)
    kind, _, name = encoder.network.partition(":")
    if kind != "timm":
        name = encoder.network.removeprefix("torchvision:")
        known = isinstance(body, ResNet) or (kind == "torchvision" and name in _IN_BOTH)
        _require(
            known, encoder, "timm", f"timm:MODEL, ResNets of ours, and torchvision:MODEL of {_LISTED}", "torchvision"
        )
    state = own_tensors(body.state_dict())
    options: dict[str, Any] = {"num_classes": 0} | ({"in_chans": encoder.channels} if encoder.channels != 3 else {})
    with tempfile.TemporaryDirectory() as folder, _quiet():
        file = Path(folder) / "timm.safetensors"
        content = save_tensors(state, {"format": "pt"})
        file.write_bytes(content)
        try:
            try:
                sized = {**options, "img_size": encoder.image_size}
                network = timm.create_model(name, checkpoint_path=str(file), **sized)
                options = sized
            except TypeError:  # convolutional models take any size and no such argument
                network = timm.create_model(name, checkpoint_path=str(file), **options)
        except RuntimeError as error:
            raise InputError(f"{encoder.name} does not fit timm's {name} ({_first_line(error)})") from error
    images = _images(encoder)
    with torch.no_grad():
        features = network.eval()((images - _column(mean)) / _column(std))
    difference = _checked(encoder, images, features, "timm")
    words = "".join(f", {key}={value}" for key, value in options.items())
    how = (
        f'network = timm.create_model("{name}"{words}, checkpoint_path="timm.safetensors")\n'
        f"features = network.eval()({_normalized(mean, std)})"
    )
    return Exported("timm.safetensors", content, how, difference)


#: By what stands after ``--format``.
FORMATS: dict[str, Callable[[Pretrained], Exported]] = {
    "torch-export": torch_export,
    "onnx": onnx,
    "torchvision": torchvision_names,
    "timm": timm_names,
}


def _body(encoder: Pretrained) -> tuple[nn.Module, list[float], list[float]]:
    """The network that has others' names, and how its images are normalized."""
    module = encoder.encoder
    if isinstance(module, ForeignEncoder):
        return module.body, module.mean.flatten().tolist(), module.std.flatten().tolist()
    if isinstance(module, ResNet) and (module.conv1.kernel_size != (7, 7) or module.conv1.out_channels != 64):
        raise InputError(
            f"{encoder.name} is a ResNet for images up to {SMALL_IMAGE} pixels or of another width, which torchvision and timm "
            "have not; use the format torch-export"
        )
    return (module.body if isinstance(module, TimmEncoder) else module), [0.5], [0.25]


def _require(known: bool, encoder: Pretrained, whose: str, which: str, other: str) -> None:
    if not known:
        own = f"{other} (its own names), " if encoder.network.startswith(f"{other}:") else ""
        raise InputError(
            f"{encoder.name} ({encoder.network or type(encoder.encoder).__name__}) is no network of {whose}'s, whose names are "
            f"those of {which}; use the format {own}torch-export or onnx"
        )


def _loaded_strictly(
    encoder: Pretrained,
    network: nn.Module,
    state: dict[str, Tensor],
    images: Tensor,
    scale: tuple[list[float], list[float]],
    what: str,
) -> float:
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise InputError(
            f"{encoder.name} does not fit {what}'s {encoder.network} ({_first_line(error)}); use the format torch-export"
        ) from error
    with torch.no_grad():
        features = network.eval()((images - _column(scale[0])) / _column(scale[1]))
    return _checked(encoder, images, features, what)


def _images(encoder: Pretrained) -> Tensor:
    size = encoder.image_size
    images = torch.rand(_CHECKED, encoder.channels, size, size, generator=torch.Generator().manual_seed(0))
    return images.to(precision_of(encoder.encoder))


def _checked(encoder: Pretrained, images: Tensor, features: Any, what: str) -> float:
    """The largest difference, as a share of the largest feature.

    Raises:
        InputError: if it is too large.
    """
    with torch.no_grad():
        right = rows_from(encoder.encoder(images), len(images), encoder.name)
    features = rows_from(features, len(images), f"{encoder.name} as {what}").detach()
    scale = float(right.abs().max()) or 1.0
    difference = float((features.double() - right.double()).abs().max()) / scale
    if features.shape != right.shape or not difference <= _TOLERANCE.get(right.dtype, _COARSE):
        raise InputError(
            f"{encoder.name} as {what} computes something else: its features differ by {difference:.1e} of the largest; leave "
            "this format out"
        )
    return difference


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch and ONNX print about their own progress."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _column(values: list[float]) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1)


def _normalized(mean: list[float], std: list[float]) -> str:
    if len(mean) == 1:
        return f"(images - {mean[0]:g}) / {std[0]:g}"
    means, stds = (", ".join(f"{value:g}" for value in values) for values in (mean, std))
    return f"(images - torch.tensor([{means}]).view(3, 1, 1)) / torch.tensor([{stds}]).view(3, 1, 1)"


def _written(path: str) -> str:
    """``heads.head`` and ``classifier[6]`` as Python has them."""
    return "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in path.split(".")).removeprefix(".")


def _first_line(error: BaseException) -> str:
    return ((str(error).strip() or type(error).__name__).splitlines()[0])[:200]
