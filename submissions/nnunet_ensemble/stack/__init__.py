"""nnU-Net's whole way from a data set to an ensemble: plan, preprocess, train, choose, bundle."""
