"""Any trained nnU-Net v2: from its results folder to a bundle of plain files, and from there to label maps.

convert   a results folder to a bundle; the only place where pickles are read, and those without running code
bundle    what a bundle says, as JSON: labels, channels, configurations, folds, post-processing
predict   nnU-Net's steps with a bundle, in bounded memory, without nnU-Net
quantise  8-bit integers for a bundle, with a certificate of what they lose
"""
