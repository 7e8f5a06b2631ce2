"""Where the members of an ensemble come from, one file each."""

from isoloss.ensemble.sources._exact import Exact
from isoloss.ensemble.sources._on_batch import OnBatch
from isoloss.ensemble.sources._source import Source
from isoloss.ensemble.sources._within_activation import Acting, WithinActivation

__all__ = ["Acting", "Exact", "OnBatch", "Source", "WithinActivation"]
