"""What a dataset's splits do to a score: flattery by a random hold-out, near-duplicates, separability."""
