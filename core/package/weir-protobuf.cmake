# weir_protobuf_generate(TARGET t PROTOS a.proto … [IMPORT_DIRS dir …] [PARAMETERS p …]
#                        [OUT_DIR dir] [RET_FILES var])
#
# Generates C of .proto files as the target is built: a.pb-c.h, a.pb-c.c (messages) and a.weir.h,
# a.weir.c (services; see protoc-gen-weir(1)), adds them to the target, and lets it, and those that
# link it, include them by their path below the import dir, <streams/v1/streams.weir.h>. What they
# need beside weir, libprotobuf-c, is linked.
#
# PROTOS: relative to an import dir or to the current source dir, or absolute; each must lie in an
# import dir. They are generated again when they or what they import change. Imported files must be
# generated too, by this or another target that is linked; but those of google/protobuf, google/rpc
# and grpc come with weir.
# IMPORT_DIRS: default: the current source dir. The .proto files that come with weir are found.
# PARAMETERS: of the plugin. OUT_DIR: default: protos/ in the current binary dir; two targets that
# generate the same file in one dir need two. RET_FILES: the files made.
function(weir_protobuf_generate)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "TARGET;OUT_DIR;RET_FILES" "PROTOS;IMPORT_DIRS;PARAMETERS")
    if(arg_UNPARSED_ARGUMENTS OR NOT arg_TARGET OR NOT arg_PROTOS)
        message(FATAL_ERROR "weir_protobuf_generate(TARGET t PROTOS a.proto … [IMPORT_DIRS dir …]"
            " [PARAMETERS p …] [OUT_DIR dir] [RET_FILES var]): ${arg_UNPARSED_ARGUMENTS}")
    endif()
    if(NOT TARGET weir::protoc-gen-weir OR NOT WEIR_PROTOC OR NOT WEIR_PROTOC_GEN_C)
        message(FATAL_ERROR "weir_protobuf_generate needs protoc, protoc-gen-c, and a weir that was built with them")
    endif()
    if(NOT arg_OUT_DIR)
        set(arg_OUT_DIR ${CMAKE_CURRENT_BINARY_DIR}/protos)
    endif()
    set(roots "")
    foreach(dir IN LISTS arg_IMPORT_DIRS)
        get_filename_component(dir "${dir}" ABSOLUTE)
        list(APPEND roots "${dir}")
    endforeach()
    if(NOT roots)
        set(roots "${CMAKE_CURRENT_SOURCE_DIR}")
    endif()
    set(parameters "")
    foreach(parameter IN LISTS arg_PARAMETERS ITEMS "protoc_gen_c=${WEIR_PROTOC_GEN_C}")
        list(APPEND parameters "--weir_opt=${parameter}")
    endforeach()

    set(files "")
    foreach(proto IN LISTS arg_PROTOS)
        weir_protobuf_root_of("${proto}" "${roots}" root path)
        set(imports "-I${root}")
        foreach(dir IN LISTS roots WEIR_PROTO_DIRS)
            if(NOT dir STREQUAL root)
                list(APPEND imports "-I${dir}")
            endif()
        endforeach()
        string(REGEX REPLACE "\\.proto$" "" stem "${path}")
        string(MAKE_C_IDENTIFIER "${stem}" flat)
        set(made "")
        foreach(suffix pb-c.c pb-c.h weir.c weir.h)
            list(APPEND made "${arg_OUT_DIR}/${stem}.${suffix}")
        endforeach()
        add_custom_command(OUTPUT ${made}
            COMMAND ${CMAKE_COMMAND} -E make_directory "${arg_OUT_DIR}"
            COMMAND "${WEIR_PROTOC}" ${imports} "--plugin=protoc-gen-weir=$<TARGET_FILE:weir::protoc-gen-weir>"
                "--weir_out=${arg_OUT_DIR}" ${parameters}
                "--dependency_out=${arg_OUT_DIR}/${flat}.d" "${path}"
            DEPENDS "${root}/${path}" weir::protoc-gen-weir
            DEPFILE "${arg_OUT_DIR}/${flat}.d"
            COMMENT "Generating C of ${path}" VERBATIM)
        list(APPEND files ${made})
    endforeach()
    target_sources(${arg_TARGET} PRIVATE ${files})
    target_include_directories(${arg_TARGET} PUBLIC "$<BUILD_INTERFACE:${arg_OUT_DIR}>")
    if(TARGET PkgConfig::WEIR_PROTOBUF_C)
        target_link_libraries(${arg_TARGET} PUBLIC PkgConfig::WEIR_PROTOBUF_C)
    endif()
    if(arg_RET_FILES)
        set(${arg_RET_FILES} ${files} PARENT_SCOPE)
    endif()
endfunction()

# The import dir that a proto lies in, and its path there.
function(weir_protobuf_root_of proto roots ret_root ret_path)
    if(NOT IS_ABSOLUTE "${proto}")
        foreach(dir IN LISTS roots)
            if(EXISTS "${dir}/${proto}")
                set(${ret_root} "${dir}" PARENT_SCOPE)
                set(${ret_path} "${proto}" PARENT_SCOPE)
                return()
            endif()
        endforeach()
    endif()
    get_filename_component(whole "${proto}" ABSOLUTE)
    foreach(dir IN LISTS roots)
        string(FIND "${whole}" "${dir}/" at)
        if(EXISTS "${whole}" AND at EQUAL 0)
            file(RELATIVE_PATH path "${dir}" "${whole}")
            set(${ret_root} "${dir}" PARENT_SCOPE)
            set(${ret_path} "${path}" PARENT_SCOPE)
            return()
        endif()
    endforeach()
    message(FATAL_ERROR "weir_protobuf_generate: ${proto} is in none of the import dirs: ${roots}")
endfunction()
