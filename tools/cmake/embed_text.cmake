# Writes OUT, a C file with the bytes of SOURCE: const char NAME[], NUL-terminated, and const size_t NAME_bytes.
file(READ ${SOURCE} hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
file(WRITE ${OUT} "/* made by tools/cmake/embed_text.cmake */\n#include <stddef.h>\n\nextern const unsigned char ${NAME}[];\n"
     "extern const size_t ${NAME}_bytes;\nconst unsigned char ${NAME}[] = {${bytes}0};\nconst size_t ${NAME}_bytes = sizeof ${NAME} - 1;\n")
