"""The command line of nlpx: parsing and printing only. No heavy import at module level."""
