"""The stages of the pipeline: siblings, none of which imports another."""
