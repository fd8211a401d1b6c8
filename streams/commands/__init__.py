"""The commands of `rescore`, one module a group. Heavy libraries are imported inside them, so that help is quick."""
