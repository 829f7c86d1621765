"""PyTorch's path of embeddings."""

from rushlight.nn.sparse import Embedding, EmbeddingBag

__all__ = ["Embedding", "EmbeddingBag"]
