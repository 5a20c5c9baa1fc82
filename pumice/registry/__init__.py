"""Trained models: versions, stages, lineage, exports. Does not know jobs."""
