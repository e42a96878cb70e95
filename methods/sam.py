"""SAM without a prompt: the library's three parts, from scratch or from an official checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.spec.errors import UsageError
from bench.spec.method import Advantages, Answer, Inputs, Method, Task, bce_dice
from bench.spec.options import option
from bench.spec.space import Between
from bench.spec.weights import find, sha256

FULL_IMAGE = 1024
"""Side of the square that the official checkpoints see."""

RATE = 1e-4
"""Learning rate at size b; others have it in inverse proportion to their width."""
DECAY = 0.1
WARM = 250
"""Steps of warm-up, SAM's own; a tenth of a short training."""
POWER = 0.9
"""Of the polynomial by which the learning rate falls."""


@dataclass(frozen=True)
class Size:
    """How large SAM's parts are."""

    width: int
    """Channels of the image encoder."""
    depth: int
    """Its blocks; the last of each quarter attends to the whole image, the others to windows of 14
    x 14 tokens."""
    heads: int
    patch: int = 16
    """Side of the square of pixels that becomes a token."""
    decoder: int = 256
    """Channels of the prompt encoder and the mask decoder."""


SIZES = {
    "b": Size(768, 12, 12),
    "l": Size(1024, 24, 16),
    "h": Size(1280, 32, 16),
    "s": Size(96, 2, 3, patch=8, decoder=192),
    "t": Size(32, 2, 2, decoder=32),
}


@dataclass(frozen=True)
class Checkpoint:
    """An official checkpoint, trained on SA-1B."""

    name: str
    bytes: int
    sha256: str


OFFICIAL = {
    "b": Checkpoint(
        "sam_vit_b_01ec64.pth",
        375_042_383,
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    "l": Checkpoint(
        "sam_vit_l_0b3195.pth",
        1_249_524_607,
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    "h": Checkpoint(
        "sam_vit_h_4b8939.pth",
        2_564_550_879,
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
}
"""By size; https://github.com/facebookresearch/segment-anything names the files."""


class Network(nn.Module):
    """Image encoder, prompt encoder and mask decoder, composed with gradients.

    The library's own forward has none.

    Args:
        size: How large the parts are.
        image: Side in pixels of the square that the image encoder sees.
    """

    def __init__(self, size: Size, image: int) -> None:
        from segment_anything.modeling import (
            ImageEncoderViT,
            MaskDecoder,
            PromptEncoder,
            Sam,
            TwoWayTransformer,
        )

        super().__init__()
        tokens, quarter = image // size.patch, max(1, size.depth // 4)
        self.sam = Sam(
            ImageEncoderViT(
                img_size=image,
                patch_size=size.patch,
                embed_dim=size.width,
                depth=size.depth,
                num_heads=size.heads,
                out_chans=size.decoder,
                norm_layer=partial(nn.LayerNorm, eps=1e-6),
                use_rel_pos=True,
                window_size=14,
                global_attn_indexes=tuple(range(quarter - 1, size.depth, quarter)),
            ),
            PromptEncoder(
                embed_dim=size.decoder,
                image_embedding_size=(tokens, tokens),
                input_image_size=(image, image),
                mask_in_chans=16,
            ),
            MaskDecoder(
                transformer_dim=size.decoder,
                transformer=TwoWayTransformer(
                    depth=2, embedding_dim=size.decoder, num_heads=8, mlp_dim=8 * size.decoder
                ),
                iou_head_depth=3,
                iou_head_hidden_dim=size.decoder,
            ),
        )

    def forward(self, image: Tensor, boxes: Sequence[Tensor | None] | None = None) -> Tensor:
        """Map images (B, 1, H, W) in [0, 1] to logits (B, 1, H, W).

        Args:
            image: Its longest side is resized to the encoder's, and the rest of the square padded,
                as SAM does it.
            boxes: For each image left, top, right and bottom in pixels (4,), or None for the null
                prompt.
        """
        native = (image.shape[-2], image.shape[-1])
        shown = self.shown(native)
        image = F.interpolate(image, shown, mode="bilinear", align_corners=False, antialias=True)
        embedding = self.sam.image_encoder(self.sam.preprocess(255 * image.expand(-1, 3, -1, -1)))
        if boxes is None:
            masks = self._decode(embedding, None)
        else:  # the decoder would pair every image with every box
            scale = embedding.new_tensor(
                [shown[1] / native[1], shown[0] / native[0]], dtype=torch.float32
            ).repeat(2)
            parts = []
            for part, box in zip(embedding.split(1), boxes, strict=True):
                parts.append(self._decode(part, None if box is None else box[None] * scale))
            masks = torch.cat(parts)
        logits: Tensor = self.sam.postprocess_masks(masks.float(), shown, native)
        return logits

    def shown(self, native: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) that an image of (height, width) is resized to."""
        from segment_anything.utils.transforms import ResizeLongestSide

        height, width = ResizeLongestSide.get_preprocess_shape(
            *native, self.sam.image_encoder.img_size
        )
        return max(1, height), max(1, width)

    def load(self, state: dict[str, Tensor]) -> None:
        """Load a checkpoint of the library.

        Its positions are interpolated where this network's image has another size.
        """
        own = self.sam.state_dict()
        for name, value in state.items():
            if name.endswith("pos_embed") and value.shape != own[name].shape:  # (1, H, W, C)
                size = tuple(own[name].shape[1:3])
                value = F.interpolate(
                    value.movedim(-1, 1), size, mode="bicubic", antialias=True
                ).movedim(1, -1)
            elif ".rel_pos_" in name and value.shape != own[name].shape:  # (2 H - 1, C)
                value = F.interpolate(value.T[None], len(own[name]), mode="linear")[0].T
            own[name] = value
        self.sam.load_state_dict(own)

    def _decode(self, embedding: Tensor, box: Tensor | None) -> Tensor:
        """Return mask logits at four times the resolution of the embedding, under one prompt."""
        with torch.autocast(embedding.device.type, enabled=False):  # positions need float32
            sparse, dense = self.sam.prompt_encoder(points=None, boxes=box, masks=None)
            position = self.sam.prompt_encoder.get_dense_pe()
        masks: Tensor = self.sam.mask_decoder(
            image_embeddings=embedding,
            image_pe=position,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )[0]
        return masks


@dataclass(frozen=True)
class SAM(Method):
    """90.7 M parameters at size b and image 256, from scratch.

    Its one mask is of all that a reference marks.

    A box, if any, is the reference's: that is an oracle, a row of its own. Nothing else ever enters
    as a prompt.
    """

    size: str = option(
        "b",
        "of the network; b, l and h are SAM's, s and t are for trying out",
        choices=tuple(SIZES),
    )
    image: int = option(256, "side in pixels of the square that it sees; SAM's is 1024", low=32)
    prompt: str = option(
        "none", "box tells it the reference's bounding box: an oracle", choices=("none", "box")
    )
    weights: str = option("", "file of an official checkpoint; none trains from scratch", file=True)

    space = {"lr": Between(2e-5, 5e-3, log=True)}
    title = "SAM"
    source = "Kirillov et al.: Segment Anything, ICCV 2023, arXiv 2304.02643; segment-anything 1.0"
    inputs = Inputs(normalise="unit")
    scales = {
        "small": {"size": "s", "image": 112},
        "tiny": {"size": "t", "image": 64},
    }
    needs = ("segment_anything",)

    def __new__(cls, *_: Any, prompt: str = "none", **__: Any) -> SAM:
        """Return the class that is told the box for `prompt=box`."""
        return super().__new__(ToldSAM if prompt == "box" else cls)

    def __post_init__(self) -> None:
        """Refuse an image that tokens do not fill, and weights that do not fit the size.

        Raises:
            UsageError: The image's side cannot be used, or the file of weights is missing or
                another.
        """
        patch = SIZES[self.size].patch
        if self.image % patch:
            raise UsageError(
                f"sam: image={self.image} is no multiple of {patch}, the side of a token at"
                f" size={self.size}; such as image={self.image - self.image % patch + patch}"
            )
        if self.weights:
            self._official()

    def _official(self) -> Path:
        """Return the file of the checkpoint, of which nothing was loaded yet."""
        path, digest = find(self.weights), sha256(self.weights)
        sizes = {checkpoint.sha256: size for size, checkpoint in OFFICIAL.items()}
        size = sizes.get(digest)
        if size == self.size:
            return path
        if size is not None:
            raise UsageError(
                f"sam: {path} is {OFFICIAL[size].name}, of size={size}, and size={self.size} was"
                f" asked for; give size={size}"
            )
        if self.size not in OFFICIAL:
            raise UsageError(
                f"sam: there are no weights for size={self.size}; give size=b, size=l or size=h"
            )
        expected = OFFICIAL[self.size]
        raise UsageError(
            f"sam: {path} ({path.stat().st_size} bytes, SHA-256 {digest[:8]}...) is no official"
            f" checkpoint; expected {expected.name} ({expected.bytes} bytes, SHA-256"
            f" {expected.sha256[:8]}...), whole and unchanged"
        )

    def deviations(self, batch: int) -> tuple[str, ...]:
        """Return how it differs from the paper of 2023."""
        own = SIZES[self.size]
        notes = (
            (
                not self.weights,
                "from scratch with the library's initial weights (2023: MAE, then SA-1B)",
            ),
            (self.weights, "fine-tuned as a whole (2023: used as it is)"),
            (
                self.weights and self.image != FULL_IMAGE,
                "position embeddings interpolated to the image's size",
            ),
            (
                self.size not in OFFICIAL,
                (
                    f"size={self.size}: an encoder of {own.depth} blocks of {own.width} channels,"
                    f" {own.patch} pixels a token, a decoder of {own.decoder} channels (2023: 12 of"
                    " 768 at least, 16, 256)"
                ),
            ),
            (
                self.image != FULL_IMAGE,
                f"images of {self.image} x {self.image} pixels ({FULL_IMAGE} x {FULL_IMAGE})",
            ),
        )
        return (
            *(note for applies, note in notes if applies),
            *self.prompt_notes(),
            (
                "binary cross entropy + Dice (2023: focal + Dice 20:1), and no loss on the"
                " predicted IoU"
            ),
            (
                f"AdamW at {self.lr or self.usual_lr:.1e}, polynomial decay over the profile's"
                " steps, which may end early (2023: 8e-4 for a batch of 256, in steps, by"
                " layer; drop path)"
            ),
        )

    def prompt_notes(self) -> tuple[str, ...]:
        """Return the deviations of what it is told."""
        return (
            "no prompt, one mask (2023: points and boxes, three masks); so the embeddings"
            " of points, boxes and masks and the IoU head never learn, nor do three of the"
            " four mask heads",
        )

    def advantages(self) -> Advantages:
        """Return its pretraining, if any."""
        if not self.weights:
            return Advantages()
        name = OFFICIAL[self.size].name
        return Advantages(pretraining=f"MAE and SA-1B (official checkpoint {name})")

    def build(self, task: Task) -> nn.Module:
        """Return the network, from scratch or with the weights of the checkpoint."""
        net = Network(SIZES[self.size], self.image)
        if self.weights:
            net.load(torch.load(self._official(), map_location="cpu", weights_only=True))
        return net

    def optimiser(self, net: nn.Module, task: Task) -> torch.optim.Optimizer:
        """Return AdamW with SAM's weight decay and warm-up.

        The learning rate falls to nothing at the last step.
        """
        rate = self.lr or self.usual_lr
        matrices, vectors = (
            [p for p in net.parameters() if (p.ndim > 1) == many] for many in (True, False)
        )
        groups = [
            {"params": matrices, "weight_decay": DECAY},
            {"params": vectors, "weight_decay": 0.0},
        ]
        adamw = torch.optim.AdamW(groups, lr=rate, fused=True)
        warm = min(WARM, task.steps // 10)

        def before(*_: object) -> None:
            for group in adamw.param_groups:  # what is in here is in checkpoints
                done = group["done"] = group.get("done", -1) + 1
                group["lr"] = (
                    rate * min(1, (done + 1) / (warm + 1)) * max(0, 1 - done / task.steps) ** POWER
                )

        adamw.register_step_pre_hook(before)
        return adamw

    @property
    def usual_lr(self) -> float:
        """The highest learning rate."""
        return RATE * SIZES["b"].width / SIZES[self.size].width


@dataclass(frozen=True)
class ToldSAM(SAM):
    """SAM that is told the reference's bounding box: an oracle."""

    def prompt_notes(self) -> tuple[str, ...]:
        """Return the deviations of what it is told."""
        return (
            "the reference's box as the only prompt, one mask (2023: points and boxes,"
            " three masks)",
            "corners jittered in training by a tenth of the side, at most 20 of 1024 pixels",
        )

    def advantages(self) -> Advantages:
        """Return its pretraining, if any, and the oracle's box."""
        return replace(super().advantages(), prompt="box of the reference (oracle)")

    def loss(self, net: nn.Module, image: Tensor, mask: Tensor, rng: torch.Generator) -> Tensor:
        """Return BCE + Dice; it sees the box of each mask, jittered in training."""
        boxes = [box_of(reference) for reference in mask]
        if net.training:
            most = 20 / FULL_IMAGE * max(image.shape[-2:])
            boxes = [box if box is None else jittered(box, most, rng) for box in boxes]
        return bce_dice(net(image, boxes), mask)

    def predict(self, net: nn.Module, image: Tensor, rng: torch.Generator) -> Tensor:
        """Refuse to predict without the box.

        Raises:
            ValueError: Always; it answers by `told`.
        """
        raise ValueError(
            "sam:prompt=box answers by told(), with the reference's box; sam:prompt=none has none"
        )

    def told(
        self, net: nn.Module, image: Tensor, rng: torch.Generator, box: Tensor | None
    ) -> Answer:
        """Return the answer for one image (1, 1, H, W) and a box (4,).

        Without a box, that is for the null prompt.
        """
        return Answer(torch.sigmoid(net(image, [box]).float()))


def box_of(mask: Tensor) -> Tensor | None:
    """Return the left, top, right and bottom edge in pixels (4,) of a mask (1, H, W).

    An empty mask has none.

    An edge lies between pixels: the box of a single pixel at the corner is (0, 0, 1, 1).
    """
    rows, columns = (mask[0].amax(dim=dim).nonzero()[:, 0] for dim in (1, 0))
    if not len(rows):
        return None
    return torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()


def jittered(box: Tensor, most: float, rng: torch.Generator) -> Tensor:
    """Return a box (4,) with noise of a tenth of its sides, at most `most` pixels, on each edge."""
    noise = torch.randn(4, generator=rng, device=box.device) * 0.1 * (box[2:] - box[:2]).repeat(2)
    return box + noise.clamp(-most, most)
