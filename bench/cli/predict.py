"""`bench predict`: the masks of a finished cell for new images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options
from bench.spec.words import count
from bench.store.layout import make_folder


def predict(
    cell: Annotated[
        Path,
        typer.Argument(help="A cell's folder: results/PROFILE/DATASET/METHOD/f0-s35."),
    ],
    images: Annotated[Path, typer.Option("--images", help="A folder of 2D images.")],
    to: Annotated[Path, typer.Option("--to", help="Where the masks go.")] = Path("masks"),
    device: options.Device = "cpu",
) -> None:
    """Predict the masks of new images by the weights of a finished cell.

    Each mask is a PNG of 0 and 255, or of numbers of classes, in the image's own size. Images are
    read as those of datasets are: the cell was trained on others, and how well it does on yours
    only references can tell.

    Examples:

        bench predict results/cpu/mr@real-c88d471d/unet/f0-s35 --images new --to masks
    """
    import cv2
    import numpy as np

    from bench.data.readers import masks
    from bench.data.readers.folder import picture
    from bench.data.readers.picture import luminance
    from bench.engine.anew import load, mask_of
    from bench.spec.dataset import unit_image

    device = options.choose_device(device)
    files = masks.side(images, "--images").by_key
    trainee, grid = load(cell, device)
    make_folder(to, "prediction", "--to")
    for key, path in sorted(files.items()):
        drawn = picture(path, masks.LARGEST)
        image = unit_image(luminance(drawn), path, padding=drawn.padding)
        mask = mask_of(trainee, grid, key, image)
        file = to / f"{key.replace('/', '_')}.png"
        pixels = mask.astype(np.uint8)
        if not cv2.imwrite(str(file), pixels if trainee.task.classes else pixels * 255):
            raise OSError(f"{file} cannot be written")
    title = trainee.method.title
    options.say(f"{to}: {count(len(files), 'mask')} by {title}, trained on {trainee.task.dataset}")
    if trainee.task.classes:
        numbered = [f"{number} {name}" for number, name in enumerate(trainee.task.classes, 1)]
        options.say(f"labels: 0 background, {', '.join(numbered)}")
