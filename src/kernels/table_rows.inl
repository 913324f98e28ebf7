.name = kName, .matmul = matmul, .quantize_row = quantize_floats, .dequantize = dequantize,
               .attend = attend, .rms_norm = rms_norm, .layer_norm = layer_norm, .add = add,
               .silu = silu, .gelu = gelu, .swiglu_oai = swiglu_oai, .softcap = softcap,
               .log_sum_exp = log_sum_exp,
