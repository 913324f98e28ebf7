// Endless text in constant memory, in Rust: endless-rs MODEL PROMPT [TOKENS [SEED]]
//   rustc endless.rs -L native=LIBDIR -l dylib=runnel -o endless-rs
use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::io::Write;
use std::{env, mem, process, ptr, slice};

#[repr(C)]
struct Sampling {
    size: usize,
    temperature: f32,
    top_k: i32,
    top_p: f32,
    min_p: f32,
    repetition_penalty: f32,
    frequency_penalty: f32,
    presence_penalty: f32,
    seed: u64,
}

#[repr(C)]
struct StreamOptions {
    size: usize,
    policy: i32,
    sinks: i32,
    window: i64,
    kv_type: i32,
    softmax: i32,
    chunk: i32,
    draft: i32,
    pin: *const c_char,
    pin_bytes: usize,
    pin_tokens: *const i32,
    n_pin_tokens: usize,
    start_position: i64,
    sampling: *const Sampling,
}

#[repr(C)]
struct Step {
    size: usize,
    token: i32,
    end_of_generation: i32,
    text: *const u8,
    text_bytes: usize,
    log_probability: f32,
}

type Progress = Option<extern "C" fn(*mut c_void, i64, i64) -> c_int>;

extern "C" {
    fn runnel_error() -> *const c_char;
    fn runnel_sampling_init(sampling: *mut Sampling, size: usize);
    fn runnel_stream_options_init(options: *mut StreamOptions, size: usize);
    fn runnel_model_load(path: *const c_char, options: *const c_void, model: *mut *mut c_void) -> c_int;
    fn runnel_model_close(model: *mut c_void);
    fn runnel_stream_open(model: *const c_void, options: *const StreamOptions, stream: *mut *mut c_void) -> c_int;
    fn runnel_stream_close(stream: *mut c_void);
    fn runnel_stream_feed(stream: *mut c_void, text: *const c_char, n_bytes: usize, progress: Progress,
                          user: *mut c_void, n_fed: *mut i64) -> c_int;
    fn runnel_stream_next(stream: *mut c_void, step: *mut Step) -> c_int;
}

// The error's text where a call failed.
fn check(status: c_int) -> Result<(), String> {
    match status {
        0 => Ok(()),
        _ => Err(unsafe { CStr::from_ptr(runnel_error()) }.to_string_lossy().into_owned()),
    }
}

struct Model(*mut c_void);

impl Model {
    fn load(path: &str) -> Result<Model, String> {
        let path = CString::new(path).map_err(|error| error.to_string())?;
        let mut model = ptr::null_mut();
        check(unsafe { runnel_model_load(path.as_ptr(), ptr::null(), &mut model) })?;
        Ok(Model(model))
    }

    fn open(&self, seed: u64) -> Result<Stream, String> {
        let mut stream = ptr::null_mut();
        unsafe {
            let mut sampling: Sampling = mem::zeroed();
            runnel_sampling_init(&mut sampling, mem::size_of::<Sampling>());
            sampling.seed = seed;
            let mut options: StreamOptions = mem::zeroed();
            runnel_stream_options_init(&mut options, mem::size_of::<StreamOptions>());
            options.sampling = &sampling;
            check(runnel_stream_open(self.0, &options, &mut stream))?;
        }
        Ok(Stream(stream))
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        unsafe { runnel_model_close(self.0) }
    }
}

struct Stream(*mut c_void);

impl Stream {
    fn feed(&mut self, text: &str) -> Result<(), String> {
        check(unsafe {
            runnel_stream_feed(self.0, text.as_ptr().cast(), text.len(), None, ptr::null_mut(), ptr::null_mut())
        })
    }

    fn next(&mut self) -> Result<Vec<u8>, String> {
        unsafe {
            let mut step: Step = mem::zeroed();
            step.size = mem::size_of::<Step>();
            check(runnel_stream_next(self.0, &mut step))?;
            Ok(slice::from_raw_parts(step.text, step.text_bytes).to_vec())
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        unsafe { runnel_stream_close(self.0) }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let number = |i: usize| arguments.get(i).and_then(|text| text.parse::<u64>().ok());
    let model = Model::load(&arguments[1])?;
    let mut stream = model.open(number(4).unwrap_or(0))?;
    stream.feed(&arguments[2])?;
    let mut out = std::io::stdout();
    for _ in 0..number(3).unwrap_or(u64::MAX) {
        let text = stream.next()?;
        out.write_all(&text).and_then(|_| out.flush()).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    if arguments.len() < 3 {
        eprintln!("usage: endless-rs MODEL PROMPT [TOKENS [SEED]]");
        process::exit(2);
    }
    if let Err(error) = run(&arguments) {
        eprintln!("endless: {error}");
        process::exit(1);
    }
}
