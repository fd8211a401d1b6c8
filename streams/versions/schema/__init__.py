"""What each broadcast record may say: one typed schema per body, used by every writer and every reader.

`base` reads JSON strictly and words errors; `policies`, `models`, `weights` and `profiles` hold the bodies, `records`
the fields of the Avro records around them. `page` writes docs/versions.md. A record that does not fit its schema counts
as never published; the reason names the field.
"""
