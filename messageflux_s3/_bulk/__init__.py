"""Work on many objects: listings, batches, requests side by side."""
