"""Operations on many objects: listings, batches, concurrent requests."""
