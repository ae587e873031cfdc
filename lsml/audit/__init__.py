"""What a dataset's splits do to a score: optimistic bias of a random hold-out, near-duplicates, separability."""
