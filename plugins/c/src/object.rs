//! A library, and an object of it with the context that it was made with.

use crate::{
    Options,
    services::{Context, code_of},
    table::{Host, Load, Message, Save, Table},
};
use ldalign_sdk::{self as sdk, Error};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{c_char, c_int, c_void};

/// Libraries are never unloaded: threads and thread-locals of theirs may live on.
const RTLD_NODELETE: i32 = 0x1000;
/// Room for a library's message.
const ROOM: usize = 1024;
/// The most bytes of a state.
const LARGEST: u64 = 1 << 32;

/// An object of a library, and the table of functions that work on it.
pub struct Object<T: Table> {
    pub table: &'static T,
    object: *mut c_void,
    /// Named in messages.
    library: String,
    // The object may point to both, which stay where they are.
    _host: Box<Host>,
    _context: Box<Context>,
}

// SAFETY: the header demands of objects that calls may come from several threads.
unsafe impl<T: Table> Send for Object<T> {}
// SAFETY: as above.
unsafe impl<T: Table> Sync for Object<T> {}

impl<T: Table> Drop for Object<T> {
    fn drop(&mut self) {
        if let Some(destroy) = self.table.destroy() {
            // SAFETY: the object was made by the same table, and is not used after.
            unsafe { destroy(self.object) };
        }
    }
}

impl<T: Table> Object<T> {
    /// Loads the library of the options and makes an object.
    pub fn new(options: Options, host: sdk::Host) -> Result<Self, Error> {
        let name = options.library.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let refused = |what: String| Error::options(format!("{name}: {what}"));
        let table = table::<T>(&options, &refused)?;
        let create = table.create().ok_or_else(|| refused("its table has no `create`".into()))?;
        let context = Box::new(Context::new(host, options.args)?);
        let host = Box::new(context.table());
        let mut code: c_int = 0;
        let (object, words) = with_message(|message| {
            // SAFETY: a function of the type that the header gives it, and pointers that outlive the object.
            unsafe { create(&*host, &mut code, message) }
        });
        if object.is_null() {
            let words = if words.is_empty() { "it made no object, and does not say why".into() } else { words };
            return Err(match code {
                0 | 2 => Error::options(format!("{name}: {words}")),
                code => Error::with_code(code_of(code), format!("{name}: {words}")),
            });
        }
        let made = Self { table, object, library: name, _host: host, _context: context };
        match made._context.unknown() {
            None => Ok(made),
            Some(unknown) => Err(Error::options(format!("{}: {unknown}", made.library))),
        }
    }

    /// The object, for a function of its table.
    pub fn as_ptr(&self) -> *mut c_void {
        self.object
    }

    /// Runs a function that returns 0, or another number after it wrote a message.
    pub fn call(&self, function: &str, run: impl FnOnce(*const Message) -> c_int) -> Result<(), Error> {
        match with_message(run) {
            (0, _) => Ok(()),
            (code, words) => {
                let words = if words.is_empty() { format!("returned {code}, without a message") } else { words };
                Err(Error::with_code(code_of(code), format!("{}: {function}: {words}", self.library)))
            }
        }
    }

    /// State as bytes; none where the table has no function for it.
    pub fn save(&self, save: Option<Save>) -> Result<Vec<u8>, Error> {
        let Some(save) = save else { return Ok(Vec::new()) };
        let mut state = vec![0; 4096];
        for _ in 0..2 {
            let mut bytes = 0;
            self.call("save", |message| {
                // SAFETY: as in `create`; the room is that of the vector.
                unsafe { save(self.object, state.as_mut_ptr(), state.len() as u64, &mut bytes, message) }
            })?;
            if bytes > LARGEST {
                return Err(Error::failed(format!("{}: save: {bytes} bytes are no state", self.library)));
            }
            let enough = bytes <= state.len() as u64;
            state.resize(bytes as usize, 0);
            if enough {
                return Ok(state);
            }
        }
        Err(Error::failed(format!("{}: save: the state grew while it was saved", self.library)))
    }

    /// Hands it a state.
    pub fn load(&mut self, load: Option<Load>, state: &[u8]) -> Result<(), Error> {
        match load {
            Some(load) => self.call("load", |message| {
                // SAFETY: as in `create`; the bytes are those of the slice.
                unsafe { load(self.object, state.as_ptr(), state.len() as u64, message) }
            }),
            None if state.is_empty() => Ok(()),
            None => Err(Error::state(format!("{}: there is a state to restore, and no function `load`", self.library))),
        }
    }
}

/// The table of a kind that a library exports, if it is one of this header.
fn table<T: Table>(options: &Options, refused: &dyn Fn(String) -> Error) -> Result<&'static T, Error> {
    let (kind, symbol) = T::NAMES;
    let path = std::path::absolute(&*options.library).map_err(|e| refused(e.to_string()))?;
    // SAFETY: runs the library's constructors: the config names it to be run, and a child process has tried it.
    let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) }
        .map_err(|e| refused(format!("it cannot be loaded: {e}")))?;
    // SAFETY: the header gives functions of this name this type.
    let give = *unsafe { library.get::<extern "C" fn() -> *const T>(symbol.as_bytes()) }
        .map_err(|_| refused(format!("it exports no `{symbol}`, and so has no {kind}")))?;
    std::mem::forget(library);
    let table = give();
    if table.is_null() {
        return Err(refused(format!("`{symbol}` returned NULL")));
    }
    // SAFETY: every table begins with its size.
    let (theirs, ours) = (unsafe { table.cast::<u64>().read() }, size_of::<T>() as u64);
    if theirs != ours {
        return Err(refused(format!(
            "its table of the {kind} has {theirs} bytes, and this program's has {ours}: compile it with this program's ldalign.h, and set `size` to sizeof(ldalign_{kind})"
        )));
    }
    // SAFETY: a table of our size, which lives as long as the program.
    let table = unsafe { &*table };
    match table.missing() {
        None => Ok(table),
        Some(field) => Err(refused(format!("its table of the {kind} has no function `{field}`"))),
    }
}

/// Runs what may write a message, and gives it back.
fn with_message<R>(run: impl FnOnce(*const Message) -> R) -> (R, String) {
    let mut room = [0u8; ROOM];
    // The last byte stays 0.
    let message = Message { text: room.as_mut_ptr().cast::<c_char>(), room: ROOM as u64 - 1 };
    let returned = run(&message);
    let end = room.iter().position(|b| *b == 0).unwrap_or(ROOM);
    (returned, String::from_utf8_lossy(&room[..end]).into_owned())
}
