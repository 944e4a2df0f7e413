// Generates the service from the .proto file of the streams service; needs protoc.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = "../../../services/streams/protos";
    tonic_build::configure()
        .build_client(false)
        .compile_protos(&[format!("{protos}/streams/v1/streams.proto")], &[protos.to_string()])?;
    Ok(())
}
