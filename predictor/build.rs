//! Makes the code of the gRPC service from its .proto file: of the server, and of a client for the tests.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["proto"])?;
    // Comments go into the code, as its documentation.
    compiler.include_source_info(true).open_file("inference.proto")?;
    // For reflection.
    fs::write(out.join("inference.bin"), compiler.encode_file_descriptor_set())?;
    for side in ["server", "client"] {
        let dir = out.join(side);
        fs::create_dir_all(&dir)?;
        tonic_prost_build::configure()
            .build_server(side == "server")
            .build_client(side == "client")
            .build_transport(false)
            .bytes(".inference.ModelInferRequest.raw_input_contents")
            .bytes(".inference.ModelInferResponse.raw_output_contents")
            .out_dir(dir)
            .compile_fds(compiler.file_descriptor_set())?;
    }
    Ok(())
}
