# C of .proto files, by protoc-c. weir_protoc_c(ret_sources ROOT file.proto…): files below ROOT become
# sources below the current binary folder; empty if there is no protoc.
include_guard(GLOBAL)
function(weir_protoc_c ret_sources root)
    set(sources)
    set(into ${CMAKE_CURRENT_BINARY_DIR}/protos)
    if(WEIR_HAVE_PROTOC)
        file(MAKE_DIRECTORY ${into})
        foreach(proto ${ARGN})
            string(REGEX REPLACE "\\.proto$" ".pb-c" name ${proto})
            add_custom_command(OUTPUT ${into}/${name}.c ${into}/${name}.h
                COMMAND ${WEIR_PROTOC} -I ${root} --plugin=protoc-gen-c=${WEIR_PROTOC_GEN_C} --c_out=${into} ${root}/${proto}
                DEPENDS ${root}/${proto} VERBATIM)
            set_source_files_properties(${into}/${name}.c PROPERTIES COMPILE_OPTIONS "-w")
            list(APPEND sources ${into}/${name}.c ${into}/${name}.h)
        endforeach()
    endif()
    set(${ret_sources} ${sources} PARENT_SCOPE)
endfunction()
