"""What the paper reports, to stand beside what is measured here.

Perrone, Moore, Ukeba and Martin, Ann Biomed Eng 2025, doi 10.1007/s10439-025-03840-w: 39 test spines of
SPIDER, T1, 202 discs, about a fifth of them narrowed by a surgeon's relabelling.
"""

from __future__ import annotations

__all__ = ["MENDED", "PAPER_BOTTLENECKS", "PAPER_NARROWING", "PAPER_SEGMENTATION", "WEAKNESSES"]

PAPER_SEGMENTATION = {"iou": "0.82 (0.80–0.84)", "dice": "0.90 (0.89–0.91)"}

PAPER_BOTTLENECKS = {
    64: "0.9981 (0.9976–0.9986)",
    8: "0.9983 (0.9979–0.9987)",
    4: "0.9984 (0.9979–0.9989)",
    3: "0.6–0.8, not converged",
}
"""IoU of the discs that the autoencoder was trained on, by number of latents."""

PAPER_NARROWING = {
    ("true", "latent"): ("0.81", "0.75"),
    ("true", "geometric"): ("0.79", "0.66"),
    ("true", "latent and geometric"): ("0.81", "0.76"),
    ("predicted", "latent"): ("0.77", "0.58"),
    ("predicted", "geometric"): ("0.79", "0.66"),
    ("predicted", "latent and geometric"): ("0.79", "0.69"),
}
"""Micro-averaged F1, which is the share of right answers, and AUROC, by kind of mask and feature set."""

WEAKNESSES = (
    "F1 is averaged over all discs of both classes, which makes it the share of right answers: whoever "
    "always answers “not narrowed” scores as much as the frequency of that answer.",
    "Folds split discs, not patients: discs of one patient are learnt from and tested on.",
    "The shape model is trained on the very discs that it then describes, and its reconstruction is scored "
    "on them too.",
    "One split of the discs, no calibration, no baseline, and intervals that take discs as independent (here "
    "intervals are by patient).",
)
"""What of the paper's weak points the paper's protocol carries here too."""

MENDED = (
    "Masks keep their volume when they are resampled (the paper's linear interpolation inflates a disc by "
    "about half).",
    "No image is cropped with the help of the true mask, and no epoch is chosen on test patients.",
    "Measures are in mm and degrees in world space, traversals hold the other latents at their mean.",
    "Labels are the readers' gradings; on SPIDER the paper's surgeon agrees with 81 % of them (kappa 0.54).",
)
"""What both protocols do differently from the paper."""
