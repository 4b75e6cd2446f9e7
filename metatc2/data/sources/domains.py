"""Folders of folders: one sub-folder a domain, in each one sub-folder a class (PACS, Office-Home, DomainNet and the like)."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from metatc2.data.class_folders import ClassFolders
from metatc2.data.decoding import ValueRange
from metatc2.data.gather import gather
from metatc2.data.listing import canonical, is_image, sub_folders
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
    files = [
        (file, canonical(domain.name), class_name)
        for domain, class_name, kind in kinds
        for file in together.files(class_name, kind)
        if is_image(file)
    ]
    domains, classes = sorted({d for _, d, _ in files}), sorted({c for _, _, c in files})
    if len(domains) < 2 or len(classes) < 2:
        raise InputError(
            f"{name}: found {len(domains)} domains and {len(classes)} classes with images; expected at least two of each, as "
            "DOMAIN/CLASS/image files (one sub-folder a class: folder:PATH)"
        )
    paths, labels = [str(file) for file, _, _ in files], [classes.index(c) for _, _, c in files]
    reader = ImageFiles(paths, labels, image_size or SIZE, value_range)
    gathered = gather(reader, name, stream=stream, workers=workers, skip=True)
    if gathered.reasons:
        bad = [str(files[row][0].relative_to(root)) for row in gathered.reasons]
        warnings.warn(
            left_out(name, f"{len(bad)} of {len(files)} images", bad, gathered.reasons), UnreadableImages, stacklevel=2
        )
    owner = torch.tensor([domains.index(files[row][1]) for row in gathered.rows.tolist()])
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
        notes={"unreadable": len(gathered.reasons)},
        originals=gathered.originals,
    )
