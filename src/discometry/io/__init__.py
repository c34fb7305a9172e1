"""Files: images and masks in, model bundles, result folders out."""
