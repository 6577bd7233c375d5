"""The image formats that the evaluator reads, one module each: bytes of a header in, `VolumeHeader` out."""
