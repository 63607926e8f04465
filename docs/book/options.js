// A browser may break a line after any hyphen. An option such as `--from-command` stays in one piece.
for (const code of document.querySelectorAll("main code")) {
    const texts = [];
    const walker = document.createTreeWalker(code, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) texts.push(walker.currentNode);
    for (const text of texts) {
        // Every second part is an option. A long one may break, or it would not fit into a narrow page.
        const parts = text.data.split(/(?<![^\s'"[(])(-[\w-]{1,28})/);
        if (parts.length === 1) continue;
        text.replaceWith(...parts.map((part, index) => {
            if (index % 2 === 0) return part;
            const option = document.createElement("span");
            option.className = "option";
            option.textContent = part;
            return option;
        }));
    }
}
