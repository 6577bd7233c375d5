"""The results folder: database and queue, one writer, lines that survive a power cut."""
