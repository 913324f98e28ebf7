// The exponential function of processors that have no instructions for it.

// e^x, relative error below 2e-7; exactly 0 below -87.3, where the result would not be a normal
// number. Reduction to [-ln2/2, ln2/2] and a polynomial (Cephes expf).
inline native exp_native(native x) {
  const native least = native{} - 87.3f;
  const native most = native{} + 88.3f;
  const native_int underflow = x < least;
  // The numbers first: then they are one instruction each, and leave x what it is where it is none.
  x = least > x ? least : x;
  x = most < x ? most : x;
  const native magic = native{} + 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const native n = (x * 1.44269504088896341f + magic) - magic;
  native r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  native p = native{} + 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const native_int exponent = __builtin_convertvector(n, native_int) << 23;
  return (native)(((native_int)p + exponent) & ~underflow);
}
