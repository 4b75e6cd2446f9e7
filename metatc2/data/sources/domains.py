"""Folders of folders: one sub-folder a domain, in each one sub-folder a class (PACS, Office-Home, DomainNet and the like)."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch

from metatc2.data.class_folders import ClassFolders
from metatc2.data.crops import crops_noted
from metatc2.data.decoding import ValueRange
from metatc2.data.gather import gather
from metatc2.data.listing import canonical, sub_folders
from metatc2.data.readers import ImageFiles
from metatc2.data.registry import register_source
from metatc2.data.sources.folder import SIZE, UnreadableImages, left_out
from metatc2.data.store import ImageStore, meta_splits
from metatc2.errors import InputError


@register_source("domains:PATH")
def load_domains(
    path: str | Path,
    image_size: int | None = None,
    *,
    stream: bool = False,
    workers: int = 0,
    value_range: ValueRange | None = None,
) -> ImageStore:
    """Images of ``DOMAIN/CLASS/`` folders; a class is its name, whatever the domain, and every domain is a split too.

    Links to folders are followed and names compared as `load_folder` does.

    Args:
        path: the folder that holds the domains.
        image_size: side of the images in pixels, 32 by default.
        stream: leave the images on disk.
        workers: threads that read.
        value_range: see `load`.

    Raises:
        InputError: if there is no such folder, or it holds fewer than two domains or two classes with images.
    """
    name, root = f"domains:{path}", Path(path).expanduser()
    if not root.is_dir():
        raise InputError(f"{name}: no such folder; give one that holds DOMAIN/CLASS/image files")
    kinds = [(domain, canonical(kind.name), kind) for domain in sub_folders(root) for kind in sub_folders(domain)]
    together = ClassFolders(name, root, [(class_name, kind) for _, class_name, kind in kinds])
    files, owners, _ = together.images()
    full = [(canonical(kinds[i][0].name), kinds[i][1]) for i in np.unique(owners)]
    domains, classes = sorted({domain for domain, _ in full}), sorted({class_name for _, class_name in full})
    if len(domains) < 2 or len(classes) < 2:
        raise InputError(
            f"{name}: found {len(domains)} domains and {len(classes)} classes with images; expected at least two of each, as "
            "DOMAIN/CLASS/image files (one sub-folder a class: folder:PATH)"
        )
    label, number = {c: i for i, c in enumerate(classes)}, {d: i for i, d in enumerate(domains)}
    labels = np.array([label.get(class_name, -1) for _, class_name, _ in kinds])[owners]
    domain_of = np.array([number.get(canonical(domain.name), -1) for domain, _, _ in kinds])
    reader = ImageFiles(files, labels, image_size or SIZE, value_range)
    gathered = gather(reader, name, stream=stream, workers=workers, skip=True)
    if gathered.reasons:
        bad = [str(Path(files[row]).relative_to(root)) for row in gathered.reasons]
        warnings.warn(
            left_out(name, f"{len(bad)} of {len(files)} images", bad, gathered.reasons), UnreadableImages, stacklevel=2
        )
    owner = torch.from_numpy(domain_of[owners[gathered.rows.numpy()]])
    return ImageStore(
        name,
        gathered.images,
        gathered.labels,
        domains=owner,
        class_names=tuple(classes),
        domain_names=tuple(domains),
        splits={
            **meta_splits(gathered.labels, len(classes)),
            **{domain: (owner == i).nonzero().flatten() for i, domain in enumerate(domains) if domain != "all"},
        },
        notes={"unreadable": len(gathered.reasons), **crops_noted(gathered.crops)},
        originals=gathered.originals,
    )
