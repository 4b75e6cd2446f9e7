"""What `metatc2 advise` does: is pre-training worth it on these images, and which?

arms       what is compared
settings   what was asked for, and the configuration of every run
parts      images to pre-train on, to choose on and to test on; draws of labels
budget     steps of every arm from the time given
plan       what was derived, kept in the folder so that a later call does the same
measure    a linear classifier on frozen features, and training from scratch
rule       from accuracies to one sentence a number of labels
given      further encoders that the user names
progress   how far it has come
work       every job of it, in order
notes      what to know besides
advise     all of it
"""
