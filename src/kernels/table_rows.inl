// The fields of a table.
// clang-format off
    .name = kName,
    .matmul = matmul,
    .wants_inputs = wants_inputs,
    .input_chunk_bytes = kInputChunkBytes,
    .prepare_row = prepare_row,
    .dequantize = dequantize,
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .add = add,
    .silu = silu,
    .gelu = gelu,
    .swiglu_oai = swiglu_oai,
    .softcap = softcap,
    .read_all = read_all,
    .log_sum_exp = log_sum_exp,
               // clang-format on
