"""What a model's extension is made of: the Python file, named in ``model.yaml``, with its own datasets and metrics.

The file defines ``DATASETS``, a dict of :class:`Source` by name, ``METRICS``, a dict of :class:`Metric` by name, or
both. A source's ``read`` gives the samples of a split by :func:`from_rows`, for token ids, features and any other
arrays; by :func:`from_array`, for images in memory; or by :func:`from_files`, for image files, each :class:`Located`.
What the file imports of the model's folder it imports at the top, by its plain name.
"""

from hubpkg.runtime.datasets import Images, Located, Source, from_array, from_files, from_rows
from hubpkg.runtime.extensions import Metric

__all__ = ["Images", "Located", "Metric", "Source", "from_array", "from_files", "from_rows"]
