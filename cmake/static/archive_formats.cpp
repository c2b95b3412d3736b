// Formats that GRETA does not write. libarchive's table names them all, and linked statically they would
// bring libxml2 with ICU, nettle, liblzma and libbz2 along.
#include <archive.h>

extern "C" {

int archive_write_set_format_7zip(archive*) { return ARCHIVE_FATAL; }
int archive_write_set_format_mtree(archive*) { return ARCHIVE_FATAL; }
int archive_write_set_format_mtree_classic(archive*) { return ARCHIVE_FATAL; }
int archive_write_set_format_xar(archive*) { return ARCHIVE_FATAL; }
int archive_write_set_format_zip(archive*) { return ARCHIVE_FATAL; }

}  // extern "C"
