"""From a batch of records to the messages of one transaction: decode, score, encode."""
