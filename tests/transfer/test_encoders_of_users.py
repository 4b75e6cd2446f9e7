"""Encoders as people have them: half and double, wrapped, lazy, with other outputs; images as NumPy arrays."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metatc2.data.store import ImageStore
from metatc2.errors import InputError
from metatc2.learners.sides import check_support
from metatc2.transfer import FewShot, Target, evaluate, extract, knn, raw_pixels
from metatc2.transfer.protocols.fine_tune import fine_tune
from metatc2.transfer.protocols.linear import linear
from metatc2.transfer.protocols.linear_sgd import linear_sgd

LABELS = torch.arange(60) % 3


def images(channels: int = 1) -> Tensor:
    return torch.randint(0, 256, (60, channels, 8, 8), generator=torch.Generator().manual_seed(0)).byte()


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 6))


def tuned(net: nn.Module, x: Any = None) -> Any:
    x = images() if x is None else x
    sides = (x[:30], LABELS[:30], x[30:45], LABELS[30:45], x[45:], LABELS[45:])
    options: dict[str, Any] = {"steps": 3, "batch": 8, "rates": (0.01,), "weight_decays": (0.0,)}
    return fine_tune(net, *sides, generator=torch.Generator().manual_seed(0), **options)


def measured(net: Any) -> list[float]:
    store = ImageStore("toy", images(), LABELS)
    rows, _ = evaluate(
        {"encoder": net},
        [Target(store, "all", "toy")],
        protocols=[FewShot(ways=(3,), shots=(1,), episodes=5), "knn"],
    )
    return [row.mean for row in rows if row.features == "encoder"]


ENTRIES: dict[str, Callable[[Any], Any]] = {
    "extract": lambda n: extract(n, images()),
    "evaluate": measured,
    "tune": tuned,
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_encoders_run_in_their_own_precision(dtype: torch.dtype) -> None:
    net = network().eval()
    exact = extract(net, images())
    net = net.to(dtype)
    found = extract(net, images())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, atol=0.05, rtol=0.05)
    assert measured(net) == pytest.approx(measured(network().eval()), abs=0.05)
    assert 0 <= tuned(net).accuracy <= 1


def test_data_parallel_is_the_module_inside() -> None:
    net = network()
    assert torch.equal(extract(nn.DataParallel(net), images()), extract(net, images()))
    assert measured(nn.DataParallel(net)) == measured(net)
    assert torch.equal(tuned(nn.DataParallel(net)).predicted, tuned(net).predicted)


def test_a_head_tied_to_the_encoder_stays_tied() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 64))
            self.head = nn.Linear(64, 64)
            self.head.weight = self.body[1].weight

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.tanh(self.body(x)))

    net = Tied()
    expected = net(images().float() / 255).detach()
    torch.testing.assert_close(extract(net, images()), expected)
    tuned(net)
    assert net.head.weight is net.body[1].weight
    assert len(measured(net)) == 4


class Returns(nn.Module):
    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.linear, self.make = nn.Linear(64, 5), make

    def forward(self, x: Tensor) -> Any:
        return self.make(self.linear(x.flatten(1)))


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda z: (z, z[:, :2]), r"got a tuple of 2: \(\d+, 5\), \(\d+, 2\); wrap it"),
        (lambda z: [z], r"got a list of 1: .*; wrap it"),
        (lambda z: {"pooled": z, "loss": None}, r"got a dict of pooled: \(\d+, 5\), loss: NoneType; wrap it"),
        (lambda z: OrderedDict(last=z), r"got a OrderedDict of last: \(\d+, 5\); wrap it"),
        (lambda z: z.view(-1, 5, 1, 1), r"got \(\d+, 5, 1, 1\); end it with a pooling or nn.Flatten"),
        (lambda z: z.sum(), r"got \(\); return one row"),
        (lambda z: z[:0], r"got \(0, 5\); return one row"),
        (lambda z: z.long(), "must return floating point features, got torch.int64"),
        (lambda z: None, "got NoneType; return a tensor"),
        (lambda z: z.numpy(force=True), "got ndarray; return a tensor"),
        (lambda z: z @ torch.ones(3, 3), r"cannot take images \(\d+, 1, 8, 8\), torch.float32 on cpu: .*shapes"),
    ],
)
def test_other_outputs_are_named(entry: str, make: Callable[[Tensor], Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        ENTRIES[entry](Returns(make))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("entry", ENTRIES)
def test_lazy_and_meta_weights_are_refused_and_stay_as_they_are(entry: str) -> None:
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(5))
    with pytest.raises(InputError, match=r"lazy layer without weights \(1.weight\); pass it one batch"):
        ENTRIES[entry](lazy)
    assert isinstance(lazy[1].weight, nn.UninitializedParameter)
    lazy(torch.zeros(2, 1, 8, 8))
    ENTRIES[entry](lazy)
    with torch.device("meta"):
        empty = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    with pytest.raises(InputError, match="meta device"):
        ENTRIES[entry](empty)


def test_what_is_no_encoder_is_refused() -> None:
    for wrong in ("resnet18", 3, [network()]):
        with pytest.raises(InputError, match="must be an nn.Module"):
            extract(wrong, images())  # type: ignore[arg-type]
        with pytest.raises(InputError, match="must be an nn.Module, a function"):
            measured(wrong)
        with pytest.raises(InputError, match="must be an nn.Module"):
            tuned(wrong)  # type: ignore[arg-type]


def test_functions_from_images_to_features() -> None:
    plain = measured(lambda x: x.flatten(1).double())
    assert measured(lambda x: x.flatten(1).numpy().astype(np.float32)) == plain
    with pytest.raises(InputError, match=r"got \(\d+, 1, 8, 8\); end it with a pooling"):
        measured(lambda x: x.float())
    with pytest.raises(InputError, match="got a tuple of 1"):
        measured(lambda x: (x.flatten(1).float(),))


def test_images_as_numpy_arrays() -> None:
    gray, color = images(), images(3)
    assert torch.equal(raw_pixels(gray.numpy()), raw_pixels(gray))
    assert torch.equal(raw_pixels(gray[:, 0].numpy()), raw_pixels(gray))
    assert torch.equal(raw_pixels(color.permute(0, 2, 3, 1).numpy()), raw_pixels(color))
    assert torch.equal(extract(network(), gray.numpy()), extract(network(), gray))
    x = gray.permute(0, 2, 3, 1).numpy()
    assert torch.equal(tuned(network(), x).predicted, tuned(network(), gray).predicted)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x: x.float() / 255, r"torch.float32 \(60, 1, 8, 8\) in \[0, 1\]; convert them: \(255 \* images\)"),
        (lambda x: (x.float() / 255).numpy(), r"convert them: \(255 \* images\)"),
        (lambda x: x.float(), r"in \[0, 255\]; convert them: images.round"),
        (lambda x: (x.float() - 128) / 64, "before any standardization"),
        (lambda x: x[0], r"torch.uint8 \(1, 8, 8\); one image"),
        (lambda x: x[:0], r"none of them 0, got torch.uint8 \(0, 1, 8, 8\)"),
        (lambda x: list(x), "must be a tensor or a NumPy array, uint8 .*, got list"),
        (lambda x: np.array(["a"]), "got an array of <U1"),
    ],
)
def test_other_images_are_named(make: Callable[[Tensor], Any], words: str) -> None:
    for function in (lambda x: extract(network(), x), raw_pixels):
        with pytest.raises(InputError, match=words):
            function(make(images()))


def test_images_that_the_encoder_cannot_take_are_named() -> None:
    with pytest.raises(
        InputError, match=r"the encoder cannot take images \(60, 3, 8, 8\), torch.float32 on cpu: .*channels"
    ):
        extract(network(), images(3))
    with pytest.raises(InputError, match="channels seem to be the last axis; images.permute"):
        extract(network(), images(3).permute(0, 2, 3, 1))


def test_whole_number_targets_of_a_regression_have_their_own_sentence() -> None:
    with pytest.raises(
        InputError, match=r"\[3, 7, 9, 40\] of shape \(4,\) are none; give the targets of a regression as"
    ):
        check_support(torch.tensor([7, 3, 40, 9]), 41, "task 0")
    with pytest.raises(InputError, match=r"of shape \(3, 1\) are none"):
        check_support(torch.tensor([[0], [5], [5]]), 6, "task 0")
    with pytest.raises(InputError, match=r"task-local, 0 to 3 .* or give the targets of a regression"):
        check_support(torch.tensor([0, 0, 3, 3]), 4, "task 0")


class WithoutGradients(nn.Module):
    def __init__(self, how: Callable[[], Any]) -> None:
        super().__init__()
        self.linear, self.how = nn.Linear(64, 5), how

    def forward(self, x: Tensor) -> Tensor:
        with self.how():
            return self.linear(x.flatten(1))


@pytest.mark.parametrize("how", [torch.inference_mode, torch.no_grad])
def test_an_encoder_that_computes_without_gradients_is_measured_and_not_tuned(how: Callable[[], Any]) -> None:
    net = WithoutGradients(how)
    assert torch.equal(extract(net, images()), extract(nn.Sequential(nn.Flatten(), net.linear), images()))
    for encoder in (net, lambda x: net(x.float() / 255)):
        assert len(measured(encoder)) == 4
    with pytest.raises(InputError, match=r"fine-tune: no gradient comes out of the encoder.*inference_mode"):
        tuned(net)


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("make", [Tensor.to_sparse, Tensor.to_sparse_csr, Tensor.to_mkldnn])
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_features_that_are_not_dense_are_refused(entry: str, make: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(
        InputError, match=r"must return a dense tensor, got torch.float32 torch\._?(sparse|mkldnn).*to_dense"
    ):
        ENTRIES[entry](Returns(lambda z: make(z.detach())))


def test_sparse_features_are_refused_by_protocols() -> None:
    with pytest.raises(InputError, match="k-NN bank must be a dense tensor"):
        knn(torch.eye(4).to_sparse(), torch.arange(4), torch.eye(4), torch.arange(4))


def test_features_of_inference_mode_serve_every_protocol() -> None:
    with torch.inference_mode():
        z = torch.randn(60, 4)
    sides = (z[:30], LABELS[:30], z[30:45], LABELS[30:45], z[45:], LABELS[45:])
    assert len(linear(*sides, grid=(1.0,)).correct) == 15
    assert len(linear_sgd(*sides, generator=torch.Generator(), epochs=1, rates=(0.1,)).correct) == 15
    assert len(knn(*sides[:4])) == 15
