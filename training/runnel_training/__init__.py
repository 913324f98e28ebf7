"""Pretraining with a sink: three ways to give softmax a place to rest (arXiv 2309.17453, section 3.3).

vanilla   random crops of the text, nothing at the start
zero      softmax-off-by-one: beside every query a key and a value of zeros
sink      a learnable sink token (the tokenizer's BOS) before every crop
"""

VARIANTS = ("vanilla", "zero", "sink")
