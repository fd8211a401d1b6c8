"""Customer rows in compiled code. `state.row`, `fold`, `layout` and `spending` say what it must do."""
