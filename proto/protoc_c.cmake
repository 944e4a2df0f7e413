# C of .proto files, by protoc-c. weir_protoc_c(ret_sources ROOT file.proto…): files below ROOT become
# sources below the current binary folder; empty if there is no protoc with protoc-gen-c.
include_guard(GLOBAL)
find_program(PROTOC protoc)
find_program(PROTOC_GEN_C NAMES protoc-gen-c)
function(weir_protoc_c ret_sources root)
    set(sources)
    set(into ${CMAKE_CURRENT_BINARY_DIR}/protos)
    if(PROTOC AND PROTOC_GEN_C)
        file(MAKE_DIRECTORY ${into})
        foreach(proto ${ARGN})
            string(REGEX REPLACE "\\.proto$" ".pb-c" name ${proto})
            add_custom_command(OUTPUT ${into}/${name}.c ${into}/${name}.h
                COMMAND ${PROTOC} -I ${root} --plugin=protoc-gen-c=${PROTOC_GEN_C} --c_out=${into} ${root}/${proto}
                DEPENDS ${root}/${proto} VERBATIM)
            set_source_files_properties(${into}/${name}.c PROPERTIES COMPILE_OPTIONS "-w")
            list(APPEND sources ${into}/${name}.c ${into}/${name}.h)
        endforeach()
    endif()
    set(${ret_sources} ${sources} PARENT_SCOPE)
endfunction()
