"""What each command does, as plain functions; `nlpx_cli` only parses and prints."""
