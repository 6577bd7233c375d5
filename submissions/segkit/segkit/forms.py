"""The files of a model folder that hold its network as OpenVINO reads it."""

FLOAT_IR = "network.xml"
INT8_IR = "int8.xml"
