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
"""Side in pixels of the square image that the official checkpoints were trained on."""

RATE = 1e-4
"""Learning rate at size b; for another size it is divided by the width relative to size b."""
DECAY = 0.1
"""Weight decay of matrices and convolutions, as in SAM's training."""
WARM = 250
"""Steps of warm-up, as in SAM's training; a training under 2500 steps warms up for a tenth of
them."""
POWER = 0.9
"""Power of the polynomial by which the learning rate falls."""


@dataclass(frozen=True)
class Size:
    """How large SAM's parts are."""

    width: int
    """Channels of the image encoder."""
    depth: int
    """Blocks of the image encoder. The last block of each quarter attends to the whole image, the
    others to windows of 14 x 14 tokens."""
    heads: int
    """Attention heads of each block."""
    patch: int = 16
    """Side in pixels of the square that becomes one token."""
    decoder: int = 256
    """Channels of the prompt encoder and the mask decoder."""


SIZES = {
    "b": Size(width=768, depth=12, heads=12),
    "l": Size(width=1024, depth=24, heads=16),
    "h": Size(width=1280, depth=32, heads=16),
    "s": Size(width=96, depth=2, heads=3, patch=8, decoder=192),
    "t": Size(width=32, depth=2, heads=2, decoder=32),
}
"""The sizes that a method's option `size` can have: b, l and h are SAM's, s and t are ours."""


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
"""The official checkpoint of each size of SAM.

https://github.com/facebookresearch/segment-anything lists the files.
"""


class Network(nn.Module):
    """SAM's image encoder, prompt encoder and mask decoder, composed so that they can be trained.

    The forward of the library's own `Sam` computes no gradients.

    Args:
        size: How large the parts are.
        side: Side in pixels of the square image that the image encoder receives.
    """

    def __init__(self, size: Size, side: int) -> None:
        from segment_anything.modeling import (
            ImageEncoderViT,
            MaskDecoder,
            PromptEncoder,
            Sam,
            TwoWayTransformer,
        )

        super().__init__()
        tokens = side // size.patch  # along each axis
        quarter = max(1, size.depth // 4)  # blocks; the last one of each attends to all tokens
        self.sam = Sam(
            ImageEncoderViT(
                img_size=side,
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
                input_image_size=(side, side),
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
            image: As in SAM, the image is resized so that its longest side is that of the encoder's
                square, and the rest of the square is padded.
            boxes: For each image the left, top, right and bottom edge in pixels (4,), or None for
                an image without a prompt. None for the whole argument: no image has a prompt.
        """
        native_size = (image.shape[-2], image.shape[-1])
        resized_size = self.shown(native_size)
        resized = F.interpolate(
            image, resized_size, mode="bilinear", align_corners=False, antialias=True
        )
        grey_levels = 255 * resized.expand(-1, 3, -1, -1)  # SAM takes RGB in [0, 255]
        embedding = self.sam.image_encoder(self.sam.preprocess(grey_levels))
        if boxes is None:
            masks = self._decode(embedding, None)
        else:
            scale_x = resized_size[1] / native_size[1]
            scale_y = resized_size[0] / native_size[0]
            # of the edges left, top, right and bottom
            scales = embedding.new_tensor([scale_x, scale_y, scale_x, scale_y], dtype=torch.float32)
            # One image at a time: given several images and boxes, the library's decoder would
            # combine every image with every box.
            decoded = []
            for one_embedding, box in zip(embedding.split(1), boxes, strict=True):
                scaled_box = None if box is None else box[None] * scales
                decoded.append(self._decode(one_embedding, scaled_box))
            masks = torch.cat(decoded)
        logits: Tensor = self.sam.postprocess_masks(masks.float(), resized_size, native_size)
        return logits

    def shown(self, native: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) to which an image of (height, width) is resized.

        Each is at least 1, where the library would round to 0 for a very narrow image.
        """
        from segment_anything.utils.transforms import ResizeLongestSide

        height, width = ResizeLongestSide.get_preprocess_shape(
            *native, self.sam.image_encoder.img_size
        )
        return max(1, height), max(1, width)

    def load(self, state: dict[str, Tensor]) -> None:
        """Load a checkpoint of the library.

        Position embeddings are interpolated if this network's image has another size than the
        checkpoint's.
        """
        fitted = self.sam.state_dict()
        for name, value in state.items():
            expected = fitted[name].shape if name in fitted else value.shape
            fitted[name] = value
            if value.shape == expected:
                continue
            if name.endswith("pos_embed"):
                # (1, H, W, C) with H x W tokens
                resized = F.interpolate(
                    value.movedim(-1, 1), tuple(expected[1:3]), mode="bicubic", antialias=True
                )
                fitted[name] = resized.movedim(1, -1)
            elif ".rel_pos_" in name:
                # (2 H - 1, C): one row for each distance of two tokens along an axis
                resized = F.interpolate(value.T[None], expected[0], mode="linear")
                fitted[name] = resized[0].T
        self.sam.load_state_dict(fitted)

    def _decode(self, embedding: Tensor, box: Tensor | None) -> Tensor:
        """Return mask logits (B, 1, 4 h, 4 w) of an embedding (B, C, h, w) under one prompt.

        Args:
            embedding: The image encoder's output.
            box: Left, top, right and bottom edge in pixels of the resized image (1, 4), or None for
                no prompt.
        """
        # Position encodings need float32: half precision is too coarse for their coordinates.
        with torch.autocast(embedding.device.type, enabled=False):
            sparse, dense = self.sam.prompt_encoder(points=None, boxes=box, masks=None)
            position = self.sam.prompt_encoder.get_dense_pe()
        masks, _predicted_iou = self.sam.mask_decoder(
            image_embeddings=embedding,
            image_pe=position,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        logits: Tensor = masks
        return logits


@dataclass(frozen=True)
class SAM(Method):
    """SAM as a segmentation network: one mask for everything that the reference marks.

    By default the network has no prompt, is trained from scratch, and has 90.7 M parameters (size b
    and image 256). With `prompt=box` it is told the bounding box of the reference. Such a method is
    an oracle, and the report shows it in a row of its own. There is no other prompt.
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
        "half": {"size": "s"},
        "small": {"size": "s", "image": 112},
        "tiny": {"size": "t", "image": 64},
    }
    needs = ("segment_anything",)

    def __new__(cls, *_: Any, prompt: str = "none", **__: Any) -> SAM:
        """Return a `ToldSAM` for `prompt=box`.

        `ToldSAM` alone has the method `told`, by which the harness recognises an oracle
        (`bench.spec.capabilities.ToldBox`). `_` and `__` take all other options, which the
        dataclass's `__init__` reads.
        """
        return super().__new__(ToldSAM if prompt == "box" else cls)

    def __post_init__(self) -> None:
        """Refuse options that do not fit each other.

        Raises:
            ValueError: The prompt is not that of the class: `dataclasses.replace` keeps the class,
                and `__new__` does not see a prompt that is given by position.
            UsageError: The image's side is no multiple of a token's, or the file of weights is
                missing or is not the official checkpoint of this size.
        """
        if (self.prompt == "box") != isinstance(self, ToldSAM):
            raise ValueError(
                f"{type(self).__name__} cannot have prompt={self.prompt}; create it anew by"
                f" SAM(prompt={self.prompt!r})"
            )
        patch = SIZES[self.size].patch
        if self.image % patch:
            raise UsageError(
                f"sam: image={self.image} is no multiple of {patch}, the side of a token at"
                f" size={self.size}; such as image={self.image - self.image % patch + patch}"
            )
        if self.weights:
            self._official()

    def _official(self) -> Path:
        """Return the path of the official checkpoint of this size.

        The file is recognised by its SHA-256, before any of its content is loaded.

        Raises:
            UsageError: The file is missing or is not that checkpoint.
        """
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
        """Return how the method differs from the paper of 2023."""
        own = SIZES[self.size]
        pretrained = bool(self.weights)
        resized = self.image != FULL_IMAGE
        notes = (
            (
                not pretrained,
                "from scratch with the library's initial weights (2023: MAE, then SA-1B)",
            ),
            (pretrained, "fine-tuned as a whole (2023: used as it is)"),
            (
                pretrained and resized,
                "position embeddings interpolated to the image's size",
            ),
            (
                self.size not in OFFICIAL,
                f"size={self.size}: an encoder of {own.depth} blocks of {own.width} channels,"
                f" {own.patch} pixels a token, a decoder of {own.decoder} channels (2023: 12 of"
                " 768 at least, 16, 256)",
            ),
            (
                resized,
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
                f"AdamW at {self._peak_lr:.1e}, polynomial decay over the profile's"
                " steps, which may end early (2023: 8e-4 for a batch of 256, in steps, by"
                " layer; drop path)"
            ),
        )

    def prompt_notes(self) -> tuple[str, ...]:
        """Return the deviations that concern the prompt."""
        return (
            "no prompt, one mask (2023: points and boxes, three masks); so the embeddings"
            " of points, boxes and masks and the IoU head never learn, nor do three of the"
            " four mask heads",
        )

    def advantages(self) -> Advantages:
        """Return the pretraining of the weights, if any."""
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

    def make_optimiser(self, net: nn.Module, task: Task) -> torch.optim.Optimizer:
        """Return AdamW with SAM's weight decay and warm-up.

        The learning rate rises linearly for the steps of warm-up, and falls towards 0 at the end of
        the profile's steps. Biases and the weights of norms have no weight decay.
        """
        peak = self._peak_lr
        matrices = [weight for weight in net.parameters() if weight.ndim > 1]
        biases_and_norms = [weight for weight in net.parameters() if weight.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": DECAY},
            {"params": biases_and_norms, "weight_decay": 0.0},
        ]
        adamw = torch.optim.AdamW(groups, lr=peak, fused=True)
        warm = min(WARM, task.steps // 10)

        def set_rate(*_: object) -> None:
            for group in adamw.param_groups:
                # A checkpoint holds the parameter groups, so it also holds this count of steps.
                done = group.get("done", -1) + 1
                group["done"] = done
                # Each + 1 counts the current step: the first one has a rate above 0, and without
                # warm-up (warm = 0) the rate begins at its peak.
                warm_up = min(1, (done + 1) / (warm + 1))
                decay = max(0, 1 - done / task.steps) ** POWER
                group["lr"] = peak * warm_up * decay

        adamw.register_step_pre_hook(set_rate)
        return adamw

    @property
    def usual_lr(self) -> float:
        """The highest learning rate of a training if the option `lr` is not given."""
        return RATE * SIZES["b"].width / SIZES[self.size].width

    @property
    def _peak_lr(self) -> float:
        """The highest learning rate: the option `lr`, or the usual one."""
        return self.lr or self.usual_lr


@dataclass(frozen=True)
class ToldSAM(SAM):
    """SAM that is told the reference's bounding box: an oracle."""

    def prompt_notes(self) -> tuple[str, ...]:
        """Return the deviations that concern the prompt."""
        return (
            "the reference's box as the only prompt, one mask (2023: points and boxes,"
            " three masks)",
            "corners jittered in training by a tenth of the side, at most 20 of 1024 pixels",
        )

    def advantages(self) -> Advantages:
        """Return the pretraining of the weights, if any, and the box of the oracle."""
        return replace(super().advantages(), prompt="box of the reference (oracle)")

    def loss(self, net: nn.Module, image: Tensor, mask: Tensor, rng: torch.Generator) -> Tensor:
        """Return BCE + Dice; the network is told the box of each mask, jittered in training."""
        boxes = [box_of(reference) for reference in mask]
        if net.training:
            # SAM: at most 20 pixels where the longest side of the image has 1024
            limit = 20 / FULL_IMAGE * max(image.shape[-2:])
            boxes = [None if box is None else jittered(box, limit, rng) for box in boxes]
        return bce_dice(net(image, boxes), mask)

    def predict(self, net: nn.Module, image: Tensor, rng: torch.Generator) -> Tensor:
        """Refuse to predict without the box.

        Raises:
            ValueError: Always; the harness asks an oracle by `told`.
        """
        raise ValueError(
            "sam:prompt=box answers by told(), with the reference's box; sam:prompt=none has none"
        )

    def told(
        self, net: nn.Module, image: Tensor, rng: torch.Generator, box: Tensor | None
    ) -> Answer:
        """Return the answer for one image (1, 1, H, W) and its box (4,), if the mask has one."""
        return Answer(torch.sigmoid(net(image, [box]).float()))


def box_of(mask: Tensor) -> Tensor | None:
    """Return the left, top, right and bottom edge in pixels (4,) of a mask (1, H, W).

    An edge lies between pixels: the box of a single pixel in the top left corner is (0, 0, 1, 1).
    Return None for an empty mask.
    """
    rows = mask[0].amax(dim=1).nonzero()[:, 0]
    columns = mask[0].amax(dim=0).nonzero()[:, 0]
    if not len(rows):
        return None
    return torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()


def jittered(box: Tensor, limit: float, rng: torch.Generator) -> Tensor:
    """Return a box (4,) whose edges are moved by normal noise, as in SAM's training.

    Args:
        box: Left, top, right and bottom edge in pixels.
        limit: Number of pixels that an edge moves at most.
        rng: Source of the noise, whose standard deviation is a tenth of the box's width for the
            left and right edge, and a tenth of its height for the others.
    """
    width_height = box[2:] - box[:2]
    noise = torch.randn(4, generator=rng, device=box.device) * 0.1 * width_height.repeat(2)
    return box + noise.clamp(-limit, limit)
