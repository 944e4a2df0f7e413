# What `cmake --install` puts where: libraries, headers, man pages, and how others find them.
include(CMakePackageConfigHelpers)

# The umbrella: every public header, in layer order. Also on the build tree's include path.
set(public_headers "")
set(umbrella "")
foreach(layer core proto stages transports)
    file(GLOB headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${layer}/include/weir/*.h)
    foreach(header ${headers})
        get_filename_component(name ${header} NAME)
        string(APPEND umbrella "#include <weir/${name}>\n")
    endforeach()
    list(APPEND public_headers ${headers})
endforeach()
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/include/weir/weir.h @ONLY CONTENT
"/* All of weir's public interface. */
#ifndef WEIR_WEIR_H
#define WEIR_WEIR_H

${umbrella}
#endif
")

install(FILES ${public_headers} ${PROJECT_BINARY_DIR}/include/weir/weir.h
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/weir)
install(TARGETS weir_shared EXPORT weir-shared LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS weir EXPORT weir-static ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})

# The plugin, and the standard .proto files with what was made of them, side by side.
if(WEIR_HAVE_PROTOC)
    install(TARGETS protoc-gen-weir EXPORT weir-shared RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    install(DIRECTORY ${WEIR_PROTO_OUT}/ ${PROJECT_SOURCE_DIR}/proto/protos/
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/weir/protos
        FILES_MATCHING PATTERN "*.h" PATTERN "*.proto")
endif()

file(GLOB man_pages CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/core/man/*.[1-9])
foreach(page ${man_pages})
    string(REGEX MATCH "[1-9]$" section ${page})
    install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()

# What the archive stands on, for the config file and for weir.pc.
set(config_modules libevent_core libevent_extra libprotobuf-c)
set(pc_requires ${config_modules})
# By name, without their .pc: Debian's sqlite3.pc and libpq.pc ask a static link for libraries and
# archives that their development packages do not bring.
set(pc_libs "-lhttp_parser")
if(WEIR_HAVE_OPENSSL)
    list(APPEND config_modules openssl)
    list(APPEND pc_requires openssl)
endif()
if(WEIR_HAVE_NGHTTP2)
    list(APPEND config_modules libnghttp2)
    list(APPEND pc_requires libnghttp2)
endif()
if(WEIR_HAVE_ZLIB)
    list(APPEND config_modules zlib)
    list(APPEND pc_requires zlib)
endif()
if(WEIR_HAVE_SQLITE)
    list(APPEND config_modules sqlite3)
    string(APPEND pc_libs " -lsqlite3")
endif()
if(WEIR_HAVE_POSTGRES)
    list(APPEND config_modules libpq)
    string(APPEND pc_libs " -lpq")
endif()
string(APPEND pc_libs " -pthread -lm")
list(JOIN config_modules " " config_modules)
list(JOIN pc_requires ", " pc_requires)

set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/weir)
foreach(kind shared static)
    install(EXPORT weir-${kind} NAMESPACE weir:: DESTINATION ${config_dir})
endforeach()
set(proto_dir ${CMAKE_INSTALL_INCLUDEDIR}/weir/protos)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/weir-config.cmake.in
    ${PROJECT_BINARY_DIR}/package/weir-config.cmake INSTALL_DESTINATION ${config_dir} PATH_VARS proto_dir)
# Before 1.0 a minor version may break; SONAME and config say so alike.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/package/weir-config-version.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/package/weir-config.cmake
    ${PROJECT_BINARY_DIR}/package/weir-config-version.cmake
    ${CMAKE_CURRENT_LIST_DIR}/weir-protobuf.cmake DESTINATION ${config_dir})

set(pc_cflags "")
if(WEIR_HAVE_PROTOC)
    set(pc_cflags " -I\${includedir}/weir/protos")
endif()
# Found from where the .pc file lies, so that the whole tree can be moved.
file(RELATIVE_PATH pc_to_prefix /x/${CMAKE_INSTALL_LIBDIR}/pkgconfig /x)
string(REGEX REPLACE "/$" "" pc_to_prefix "${pc_to_prefix}")
configure_file(${CMAKE_CURRENT_LIST_DIR}/weir.pc.in ${PROJECT_BINARY_DIR}/package/weir.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/package/weir.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
