"""A recipe that trains a segmenter in a second and teaches it nothing."""

from __future__ import annotations

from discometry.networks.segmenter_config import SegmenterConfig
from discometry.training.fit_segmenter import SegmenterTraining
from discometry.training.loop import LoopConfig

TINY = SegmenterTraining(
    network=SegmenterConfig(width=4, levels=4, spacing_mm=(4.2, 3.6, 4.5), patch=(16, 32, 32)),
    loop=LoopConfig(epochs=1, learning_rate=1e-2, schedule="constant", accelerator="cpu"),
    steps_per_epoch=2,
    phantoms=0,
    phantom_share=0.0,
    validation_part=0.3,
)
