#include "words.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    size_t total = 0;

    printf("wordcount %s\n", VERSION);
    for (int i = 1; i < argc; i++) {
        size_t count = count_words(argv[i]);
        printf("%zu %s\n", count, argv[i]);
        total += count;
    }
    printf("%zu words\n", total);
    return 0;
}
