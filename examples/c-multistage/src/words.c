#include "words.h"

#include <ctype.h>

size_t count_words(const char *text)
{
    size_t count = 0;
    int inside = 0;

    for (; *text != '\0'; text++) {
        int blank = isspace((unsigned char)*text);
        if (!blank && !inside)
            count++;
        inside = !blank;
    }
    return count;
}
