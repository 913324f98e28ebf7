// exp(x) of x <= 0 in double precision, made of additions and multiplications alone, so that it is
// the same number on every machine: the processor's sampler and that of a device
// (device/opencl/kernels/sample.cl) weigh a token alike to the last bit. Within 2 units in the last
// place; below exp(-700) 0. C++ and OpenCL C; no contraction of products and sums.
double exact_exp(double x) {
  if (!(x > -700.0)) return 0.0;
  const double to_whole = 6755399441055744.0;  // 1.5 * 2^52: what is added to it is rounded
  const double n = (x * 1.4426950408889634 + to_whole) - to_whole;
  const double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;  // ln 2
  double sum = 1.0 / 6227020800.0;                                                      // 1 / 13!
  sum = sum * r + 1.0 / 479001600.0;
  sum = sum * r + 1.0 / 39916800.0;
  sum = sum * r + 1.0 / 3628800.0;
  sum = sum * r + 1.0 / 362880.0;
  sum = sum * r + 1.0 / 40320.0;
  sum = sum * r + 1.0 / 5040.0;
  sum = sum * r + 1.0 / 720.0;
  sum = sum * r + 1.0 / 120.0;
  sum = sum * r + 1.0 / 24.0;
  sum = sum * r + 1.0 / 6.0;
  sum = sum * r + 0.5;
  sum = sum * r + 1.0;
  sum = sum * r + 1.0;
  return sum * two_to((int)n);
}
