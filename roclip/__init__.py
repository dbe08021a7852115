"""RoCLIP: robust contrastive language-image pretraining, its training and its measurements."""
