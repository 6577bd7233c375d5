"""Takes one file out of what a stranger wrote: the census, the copy, and the judge in its limited child."""
